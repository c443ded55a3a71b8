"""Message classes of janus.proto, built at import from its compiled descriptor; types are in janus_pb2.pyi.

Generated Python code runs with one or two major versions of protobuf only. The descriptor runs with all since 4.22, so
that the package installs beside whatever else a device has. `scripts/compile_proto.py` makes both files.
"""

from importlib.resources import files

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_compiled = descriptor_pb2.FileDescriptorSet.FromString(files(__package__).joinpath("janus.desc").read_bytes())
DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(_compiled.file[0].SerializeToString())

for _name, _message in DESCRIPTOR.message_types_by_name.items():
    globals()[_name] = message_factory.GetMessageClass(_message)
