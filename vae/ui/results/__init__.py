"""What is computed once for all visitors: bounded, cancellable, with progress."""
