"""What lies on disk: run folders, jobs, the queue."""
