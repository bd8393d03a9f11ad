from tidewire.protocol.websocket.close_codes import may_be_sent


def test_only_registered_library_and_application_codes_may_be_sent() -> None:
    allowed = [code for code in range(70_000) if may_be_sent(code)]
    assert allowed == [1000, 1001, 1002, 1003, *range(1007, 1015), *range(3000, 5000)]
