"""Asks a server about photos with tritonclient, in each form that it has, and prints the answers.

usage: triton_client.py HOST:PORT PHOTO...
"""

import json
import sys

import numpy as np
import tritonclient.http as triton


def main(address, *photos):
    client = triton.InferenceServerClient(address)
    assert client.is_server_live() and client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    model = "demo"
    assert client.is_model_ready(model)
    metadata = client.get_model_metadata(model)
    assert [i["name"] for i in metadata["inputs"]] == ["image"], metadata
    files = np.array([open(photo, "rb").read() for photo in photos], dtype=np.object_)

    image = triton.InferInput("image", [len(files)], "BYTES")
    image.set_data_from_numpy(files)
    answers = {}
    result = client.infer(model, [image])
    answers["binary"] = {
        "probabilities": result.as_numpy("probabilities").tolist(),
        "label": [label.decode() for label in result.as_numpy("label")],
    }
    plain = [triton.InferRequestedOutput("probabilities", binary_data=False)]
    result = client.infer(model, [image], outputs=plain, request_id="seven")
    assert result.get_response()["id"] == "seven"
    answers["json"] = {"probabilities": result.as_numpy("probabilities").tolist()}
    classes = [triton.InferRequestedOutput("probabilities", class_count=3)]
    result = client.infer(model, [image], outputs=classes).as_numpy("probabilities")
    answers["classification"] = [[text.decode() for text in row] for row in result]
    try:
        client.infer("nobody", [image])
        raise AssertionError("a model that is not there answers")
    except triton.InferenceServerException as error:
        assert error.status() == "404", error
    json.dump(answers, sys.stdout)


main(*sys.argv[1:])
