"""Projects as users have them: written, and compiled, by hls4ml itself."""

import ctypes
import warnings

import numpy as np

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its dependencies, at import
    from hls4ml.model.graph import ModelGraph


def dense(name, weight, bias, **more):
    return {"class_name": "Dense", "name": name, "n_in": len(weight), "n_out": len(bias), "weight_data": weight,
            "bias_data": bias, **more}


def normalize(name, scale, bias):
    """A normalisation whose scale and bias are exactly these."""
    n = len(scale)
    return {"class_name": "BatchNormalization", "name": name, "n_in": n, "n_out": n, "n_filt": -1, "use_gamma": True,
            "use_beta": True, "epsilon": 0.0, "gamma_data": scale, "beta_data": bias, "mean_data": np.zeros(n),
            "variance_data": np.ones(n)}


def activation(name, kind):
    return {"class_name": "Activation", "name": name, "activation": kind}


def write_project(folder, n_in, layers, precision="ap_fixed<16,6>", names=None, io_type="io_parallel",
                  strategy="Latency", reuse=1):
    """Convert and write; returns the ModelGraph."""
    first = {"class_name": "InputLayer", "name": "x", "input_shape": [n_in], "inputs": [], "outputs": ["x"]}
    hls = {"Model": {"Precision": precision, "ReuseFactor": reuse, "Strategy": strategy}, "LayerName": names or {}}
    model = ModelGraph.from_layer_list(
        {"OutputDir": str(folder), "ProjectName": "net", "Backend": "Vivado", "IOType": io_type, "Part": "xcu250",
         "ClockPeriod": 5, "HLSConfig": hls}, [first, *layers])
    model.write()
    return model


class Simulation:
    """hls4ml's C simulation: float32 rows in, float32 rows out."""

    def __init__(self, model, n_out):
        model.compile()
        self.n_out = n_out
        library = ctypes.CDLL(model._compile() if model._top_function_lib is None else model._top_function_lib._name)
        self._run = library.net_float

    def predict(self, rows):
        rows = np.ascontiguousarray(rows, np.float32)
        out = np.zeros((len(rows), self.n_out), np.float32)
        pointer = ctypes.POINTER(ctypes.c_float)
        for x, y in zip(rows, out, strict=True):
            self._run(x.ctypes.data_as(pointer), y.ctypes.data_as(pointer))
        return out
