"""Quality measurements anyone can repeat: `make eval EVAL_DATA=folder`."""
