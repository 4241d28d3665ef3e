"""flowrl grows a library of reinforcement-learning skills on Craftax."""

__version__ = "0.2.0"
