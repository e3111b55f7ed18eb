"""A hundred group-bys over ten terabytes and a billion left rows: on paper, in a project whose tables are empty."""
