class LayeredIndex:
    pass
