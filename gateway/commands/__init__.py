"""Commands of the online half."""
