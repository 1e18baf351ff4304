"""The nouns everybody shares: values, with no more logic than tells what they are.

``wire`` parses octets into them, ``policy`` judges them, ``dialogue`` moves them along,
``proxy`` records them. Nothing here imports from another floor.
"""
