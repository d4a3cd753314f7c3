"""``python -m meibel_integrations`` is the command line."""

from meibel_integrations.cli import main

if __name__ == "__main__":
    main()
