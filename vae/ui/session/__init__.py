"""What is selected, by whom: it lives in the session and in the address bar."""
