"""Neurons of models that transformers runs; the only part of this room that imports torch."""
