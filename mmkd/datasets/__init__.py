"""Data made by the project itself; see :mod:`mmkd.datasets.shapes`."""
