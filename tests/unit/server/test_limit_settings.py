import msgspec

from tidewire.engine.limits import Limits
from tidewire.server.limit_settings import LimitSettings, node_limits, socket_limits
from tidewire.transports.limits import SocketLimits


def test_every_limit_reaches_the_part_that_keeps_it():
    names = LimitSettings.__struct_fields__
    numbers = {name: 70_000 + place for place, name in enumerate(names)}
    settings = LimitSettings(**numbers)
    kept = set(msgspec.structs.asdict(node_limits(settings, drain_timeout_s=1)).values())
    kept |= set(msgspec.structs.asdict(socket_limits(settings)).values())
    kept |= {socket_limits(settings).max_connections - 256}
    assert set(numbers.values()) <= kept


def test_the_defaults_are_those_of_the_engine_and_of_the_sockets():
    settings = LimitSettings(connections_max=Limits().connections_max)
    assert node_limits(settings, drain_timeout_s=Limits().drain_timeout_s) == Limits()
    made = socket_limits(settings)
    assert msgspec.structs.replace(made, max_connections=SocketLimits().max_connections) == (
        SocketLimits()
    )


def test_there_is_room_to_answer_those_who_are_too_many():
    settings = LimitSettings(connections_max=10)
    assert socket_limits(settings).max_connections > 10
