"""The small networks that ship."""
