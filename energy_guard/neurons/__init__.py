"""The white-box tier: single neurons of a model, what they contribute and what they tell."""

from energy_guard.neurons.contributions import AnswerToRead, Contributions, Neuron
from energy_guard.neurons.damping import damped
from energy_guard.neurons.find import FoundNeurons, find_neurons
from energy_guard.neurons.fit import LabelledContributions, fit_probe
from energy_guard.neurons.probe import NeuronProbe
from energy_guard.neurons.read import read_contributions

__all__ = [
    "AnswerToRead",
    "Contributions",
    "FoundNeurons",
    "LabelledContributions",
    "Neuron",
    "NeuronProbe",
    "damped",
    "find_neurons",
    "fit_probe",
    "read_contributions",
]
