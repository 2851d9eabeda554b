"""Neurons of models that llama.cpp runs, without torch."""
