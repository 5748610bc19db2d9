-- A notebook: 10,000 notes and 40,000 tags on them.
PRAGMA foreign_keys = ON;
CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT NOT NULL, body TEXT, written TEXT NOT NULL, score REAL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
INSERT INTO notes
	SELECT i, 'Größe № ' || i, CASE WHEN i % 5 > 0 THEN 'first line' || char(10) || json_object('i', i, 'ключ', '値') END,
	       datetime('2024-01-01', i || ' minutes'), i / 3.0
	FROM n;
CREATE TABLE tags (note INTEGER NOT NULL REFERENCES notes, tag TEXT NOT NULL, PRIMARY KEY (note, tag)) WITHOUT ROWID;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 39999)
INSERT INTO tags SELECT 1 + i / 4, 'tag-' || (i % 4) || '-é' FROM n;
CREATE INDEX by_tag ON tags (tag);
