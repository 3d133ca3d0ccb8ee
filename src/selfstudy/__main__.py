"""`python -m selfstudy`: the command line where no script is on the path."""

from selfstudy.cli import main

if __name__ == "__main__":
    main()
