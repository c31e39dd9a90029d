def register():
    return {}, {}
