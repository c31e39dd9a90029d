"""The messages of ML-Agents 0.4, described at run time: no generated code and no old package is needed.

Field names and numbers are those of the released ``unityagents`` 0.4.0. The descriptors live in a pool of their
own, since mlagents-envs' messages of today have the same names.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import DescriptorProto, FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import MessageFactory

SERVICE = "communicator_objects.UnityToExternal"
EXCHANGE = f"/{SERVICE}/Exchange"
API_VERSION = "API-4"
OK, QUIT = 200, 400
STEP, RESET = 0, 1
DISCRETE, CONTINUOUS = 0, 1
EXTERNAL = 2

# Enums are int32 on the wire.
_SCALARS = {
    "int32": FieldDescriptorProto.TYPE_INT32,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "float": FieldDescriptorProto.TYPE_FLOAT,
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
}
_PACKAGE = "communicator_objects"


class _Field(NamedTuple):
    """``type`` is a scalar or a message; ``many`` is "", "repeated" or "map" (from string)."""

    number: int
    type: str
    many: str = ""


_MESSAGES: Mapping[str, Mapping[str, _Field]] = {
    "Header": {"status": _Field(1, "int32"), "message": _Field(2, "string")},
    "UnityMessage": {
        "header": _Field(1, "Header"),
        "unity_output": _Field(2, "UnityOutput"),
        "unity_input": _Field(3, "UnityInput"),
    },
    "UnityInput": {
        "rl_input": _Field(1, "UnityRLInput"),
        "rl_initialization_input": _Field(2, "UnityRLInitializationInput"),
    },
    "UnityOutput": {
        "rl_output": _Field(1, "UnityRLOutput"),
        "rl_initialization_output": _Field(2, "UnityRLInitializationOutput"),
    },
    "UnityRLInitializationInput": {"seed": _Field(1, "int32")},
    "UnityRLInitializationOutput": {
        "name": _Field(1, "string"),
        "version": _Field(2, "string"),
        "log_path": _Field(3, "string"),
        "brain_parameters": _Field(5, "BrainParameters", "repeated"),
        "environment_parameters": _Field(6, "EnvironmentParameters"),
    },
    "BrainParameters": {
        "vector_observation_size": _Field(1, "int32"),
        "num_stacked_vector_observations": _Field(2, "int32"),
        "vector_action_size": _Field(3, "int32"),
        "camera_resolutions": _Field(4, "Resolution", "repeated"),
        "vector_action_descriptions": _Field(5, "string", "repeated"),
        "vector_action_space_type": _Field(6, "int32"),
        "vector_observation_space_type": _Field(7, "int32"),
        "brain_name": _Field(8, "string"),
        "brain_type": _Field(9, "int32"),
    },
    "Resolution": {
        "width": _Field(1, "int32"),
        "height": _Field(2, "int32"),
        "gray_scale": _Field(3, "bool"),
    },
    "EnvironmentParameters": {"float_parameters": _Field(1, "float", "map")},
    "UnityRLInput": {
        "agent_actions": _Field(1, "AgentActions", "map"),
        "environment_parameters": _Field(2, "EnvironmentParameters"),
        "is_training": _Field(3, "bool"),
        "command": _Field(4, "int32"),
    },
    "AgentActions": {"value": _Field(1, "AgentAction", "repeated")},
    "AgentAction": {
        "vector_actions": _Field(1, "float", "repeated"),
        "text_actions": _Field(2, "string"),
        "memories": _Field(3, "float", "repeated"),
    },
    "UnityRLOutput": {"global_done": _Field(1, "bool"), "agent_infos": _Field(2, "AgentInfos", "map")},
    "AgentInfos": {"value": _Field(1, "AgentInfo", "repeated")},
    "AgentInfo": {
        "stacked_vector_observation": _Field(1, "float", "repeated"),
        "visual_observations": _Field(2, "bytes", "repeated"),
        "text_observation": _Field(3, "string"),
        "stored_vector_actions": _Field(4, "float", "repeated"),
        "stored_text_actions": _Field(5, "string"),
        "memories": _Field(6, "float", "repeated"),
        "reward": _Field(7, "float"),
        "done": _Field(8, "bool"),
        "max_step_reached": _Field(9, "bool"),
        "id": _Field(10, "int32"),
    },
}


def _describe(field: FieldDescriptorProto, name: str, number: int, type_name: str) -> None:
    field.name, field.number, field.label = name, number, FieldDescriptorProto.LABEL_OPTIONAL
    if type_name in _SCALARS:
        field.type = _SCALARS[type_name]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{type_name}"


def _add_field(message: DescriptorProto, name: str, field: _Field) -> None:
    described = message.field.add()
    type_name = field.type
    if field.many == "map":
        # protoc turns a map into repeated entries of a nested message of this name.
        entry = message.nested_type.add()
        entry.name = "".join(part.capitalize() for part in name.split("_")) + "Entry"
        entry.options.map_entry = True
        _describe(entry.field.add(), "key", 1, "string")
        _describe(entry.field.add(), "value", 2, field.type)
        type_name = f"{message.name}.{entry.name}"
    _describe(described, name, field.number, type_name)
    if field.many:
        described.label = FieldDescriptorProto.LABEL_REPEATED


def _message_class(wanted: str) -> Any:
    file = FileDescriptorProto(name="mlagents_0_4.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add()
        message.name = name
        for field_name, field in fields.items():
            _add_field(message, field_name, field)
    pool = DescriptorPool()
    pool.Add(file)
    return MessageFactory(pool).GetPrototype(pool.FindMessageTypeByName(f"{_PACKAGE}.{wanted}"))


UnityMessage = _message_class("UnityMessage")
