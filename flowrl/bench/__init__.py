"""Measurements that stand behind the numbers in the documentation: `flowrl bench`."""
