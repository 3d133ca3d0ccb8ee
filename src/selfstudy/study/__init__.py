"""A study: methods, label counts, seeds and draws as cells; running them; and what their scores allow one to say."""
