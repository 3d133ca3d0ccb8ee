"""Parts that methods share, without a method's name in them."""
