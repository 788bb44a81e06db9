"""The baselines: a bare ONNX Runtime call behind a bare Starlette route or grpc.aio method.

No routing, batching, accounting or metrics: what any server around this model must at least cost.
`python bare.py http|grpc MODEL.onnx PORT`
"""

from __future__ import annotations

import asyncio
import sys

import numpy as np
import onnxruntime as ort


def open_model(path: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def http(path: str, port: int) -> None:
    import msgspec
    import uvicorn
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import Route

    session = open_model(path)

    async def infer(request: Request) -> Response:
        document = msgspec.json.decode(await request.body())
        tensor = document["inputs"][0]
        array = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
        (answer,) = session.run(None, {tensor["name"]: array})
        outputs = [
            {
                "name": "y",
                "datatype": "FP32",
                "shape": list(answer.shape),
                "data": answer.ravel().tolist(),
            }
        ]
        body = msgspec.json.encode({"model_name": "mlp", "model_version": "1", "outputs": outputs})
        return Response(body, media_type="application/json")

    app = Starlette(routes=[Route("/v2/models/{model}/infer", infer, methods=["POST"])])
    uvicorn.run(
        app,
        port=port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="warning",
        lifespan="off",
        ws="none",
    )


def grpc_server(path: str, port: int) -> None:
    import grpc
    import uvloop
    from tritonclient.grpc import service_pb2 as pb
    from tritonclient.grpc import service_pb2_grpc

    session = open_model(path)

    class Bare(service_pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc]
        async def ModelInfer(self, request, context):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
            tensor = request.inputs[0]
            array = np.frombuffer(request.raw_input_contents[0], np.float32)
            (answer,) = session.run(None, {tensor.name: array.reshape(tensor.shape)})
            reply = pb.ModelInferResponse(model_name="mlp", model_version="1")
            reply.outputs.add(name="y", datatype="FP32", shape=answer.shape)
            reply.raw_output_contents.append(answer.tobytes())
            return reply

    async def main() -> None:
        server = grpc.aio.server()
        service_pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Bare(), server)
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


if __name__ == "__main__":
    {"http": http, "grpc": grpc_server}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
