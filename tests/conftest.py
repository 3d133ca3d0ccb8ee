"""What all tests share: the same examples every time, and no clock that a busy machine could fail."""

from hypothesis import settings

settings.register_profile("selfstudy", deadline=None, derandomize=True, database=None)
settings.load_profile("selfstudy")
