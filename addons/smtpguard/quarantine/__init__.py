"""The quarantine: messages and parts that are kept, and what becomes of them.

A folder of files is the truth: the octets of an item, and a record beside them that
tells what they are. ``store`` writes them, ``parts`` and ``release`` lead items from
state to state, ``upkeep`` ends what is old. The ``index`` is made from the files and
only finds them. ``delivery`` sends. All of it blocks: an event loop calls it in a
thread. Format and states: ``docs/quarantine.md``.
"""
