# Made by tools/generate.py from shardkeep/_async: change it there.
"""The client."""
