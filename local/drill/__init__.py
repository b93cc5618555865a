"""The failure drill: a real pipeline under load, one fault after another, and what it cost."""
