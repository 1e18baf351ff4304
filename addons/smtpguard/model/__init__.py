"""The nouns everybody shares: values without logic of their own.

``wire`` parses octets into them, ``policy`` judges them, ``dialogue`` moves them along,
``proxy`` records them. Nothing here imports from another floor.
"""
