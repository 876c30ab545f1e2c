"""A project built on mmkd: an own data set, method and mixer, in registries of its own."""

from pebbles import data, method, mixer  # noqa: F401 (registers everything)
