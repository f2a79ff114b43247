"""What the pages share: the only Streamlit code outside app.py and pages/."""
