"""The declarations are coherent, and the README's data dictionary is made from them."""

from __future__ import annotations

from attribution.read.contract import REQUIRED, SENSITIVE, TABLES, data_dictionary

MARK = "<!-- data dictionary -->"


def test_declarations_are_coherent():
    for table in TABLES.values():
        assert len(set(table.names)) == len(table.names), table.name
        assert set(table.key) <= set(table.names), table.name
        for key in table.foreign:
            assert key.column in table.names
            assert all(column in TABLES[target].names for target, column in key.targets)
        for row in table.rows:
            assert row.column in table.names and row.mend
            assert {need.strip('"') for need in row.needs} <= set(table.names)
        for column in table.columns:
            assert column.doc, f"{table.name}.{column.name} has no meaning"
            assert not column.name.endswith("_cents") or column.unit.startswith("cents")
    assert set(REQUIRED) <= set(TABLES)


def test_sensitive_attributes_live_in_one_table():
    homes = {name: [t.name for t in TABLES.values() if name in t.names] for name in SENSITIVE}
    assert set(map(tuple, homes.values())) == {("learners_sensitive",)}


def test_the_dictionary_names_every_table_and_column():
    text = data_dictionary()
    for table in TABLES.values():
        assert f"**{table.name}**" in text
        assert all(f"| {column} |" in text for column in table.names)


def test_the_readme_is_current(root):
    parts = (root / "README.md").read_text(encoding="utf-8").split(MARK)
    assert parts[1].strip() == data_dictionary().strip(), "paste data_dictionary() again"
