"""Train a reader of handwritten digits; from the weights of an older one where there is one."""

import json
import os
from pathlib import Path

import joblib
import numpy as np
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier


def load(path):
    rows = np.loadtxt(path, delimiter=",", skiprows=1)
    return rows[:, :-1] / 16.0, rows[:, -1].astype(int)


epochs = int(os.environ.get("EPOCHS", "12"))
hidden = int(os.environ.get("HIDDEN", "32"))
train_images, train_digits = load("data/gauge-digits/train.csv")
test_images, test_digits = load("data/gauge-digits/heldout.csv")

base = Path("base/model.joblib")
if base.exists():
    model = joblib.load(base)
    print(f"going on from {base}")
else:
    model = MLPClassifier(hidden_layer_sizes=(hidden,), learning_rate_init=0.01, random_state=7)

for epoch in range(1, epochs + 1):
    order = np.random.default_rng(epoch).permutation(len(train_digits))
    for batch in np.array_split(order, 12):
        model.partial_fit(train_images[batch], train_digits[batch], classes=list(range(10)))
    if epoch % 5 == 0 or epoch == epochs:
        accuracy = accuracy_score(test_digits, model.predict(test_images))
        print(f"epoch {epoch}: accuracy {accuracy:.4f} on {len(test_digits)} held-out images", flush=True)
        if "GUILDHALL_METRICS_FILE" in os.environ:
            with open(os.environ["GUILDHALL_METRICS_FILE"], "a") as file:
                metric = {"name": "accuracy", "value": accuracy, "split": "heldout", "step": epoch}
                file.write(json.dumps(metric) + "\n")

output = Path(os.environ.get("GUILDHALL_OUTPUT", "output"))
output.mkdir(exist_ok=True)
joblib.dump(model, output / "model.joblib")
(output / "report.json").write_text(json.dumps({"accuracy": accuracy, "epochs": epochs}))
if "GUILDHALL_PARAMETERS_FILE" in os.environ:
    parameters = {"epochs": epochs, "hidden": hidden, "warm_start": base.exists()}
    Path(os.environ["GUILDHALL_PARAMETERS_FILE"]).write_text(json.dumps(parameters))
