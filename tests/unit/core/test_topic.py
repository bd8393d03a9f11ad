import pytest

from tidewire.core.errors import InvalidTopicError
from tidewire.core.topic import Topic


def test_the_prefix_is_cut_once():
    assert Topic.parse("realtime:realtime:a").sub_topic == "realtime:a"


def test_public_private_and_other_tenants_rooms_have_other_keys():
    keys = {
        Topic.parse("realtime:a", private=private, tenant=tenant).key
        for private in (False, True)
        for tenant in ("one", "two")
    }
    assert len(keys) == 4


@pytest.mark.parametrize("name", ["", "realtime:", "realtime", "phoenix", "Realtime:a"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(InvalidTopicError):
        Topic.parse(name)
