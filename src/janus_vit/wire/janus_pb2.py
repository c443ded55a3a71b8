"""Message classes of janus.proto, built at import from its compiled descriptor. The types are in janus_pb2.pyi.

Code that protoc generates works with only one or two major versions of protobuf. The descriptor works with every
version since 4.25, so the package works with the protobuf that a device already has. `scripts/compile_proto.py`
writes both files.
"""

from importlib.resources import files

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_compiled = descriptor_pb2.FileDescriptorSet.FromString(files(__package__).joinpath("janus.desc").read_bytes())
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(_compiled.file[0].SerializeToString())

for _name, _message in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = message_factory.GetMessageClass(_message)
