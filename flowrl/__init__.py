"""flowrl grows a library of reinforcement-learning skills on Craftax."""

__version__ = "0.1.0"
