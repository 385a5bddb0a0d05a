"""The tables of jobs.db."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS sequence (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL);
INSERT OR IGNORE INTO sequence VALUES (1, 0);

CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, tenant TEXT NOT NULL, collection TEXT NOT NULL, created_at REAL NOT NULL,
    published INTEGER NOT NULL DEFAULT 0, cancelled INTEGER NOT NULL DEFAULT 0, finished_at REAL
) WITHOUT ROWID;

-- part 0 is what was sent; a file that holds many (container = 1) is counted by its parts instead
CREATE TABLE IF NOT EXISTS documents (
    job_id TEXT NOT NULL, n INTEGER NOT NULL, part INTEGER NOT NULL, seq INTEGER NOT NULL,
    document_id TEXT NOT NULL, title TEXT NOT NULL, metadata_json TEXT NOT NULL, name TEXT NOT NULL,
    media_type TEXT NOT NULL, uri TEXT NOT NULL, sha256 TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', container INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job_id, n, part)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS documents_by_state ON documents (job_id, container, state);
CREATE INDEX IF NOT EXISTS documents_by_id ON documents (document_id, state);
CREATE INDEX IF NOT EXISTS documents_by_seq ON documents (seq);

-- the newest write or delete that was applied to an id
CREATE TABLE IF NOT EXISTS stamps (
    tenant TEXT NOT NULL, collection TEXT NOT NULL, document_id TEXT NOT NULL, seq INTEGER NOT NULL,
    PRIMARY KEY (tenant, collection, document_id)
) WITHOUT ROWID;

-- held: 0 while the write is open, 1 once its document is stored, 2 when nothing needs the bytes
CREATE TABLE IF NOT EXISTS blobs (
    uri TEXT PRIMARY KEY, tenant TEXT NOT NULL, collection TEXT NOT NULL, document_id TEXT NOT NULL,
    held INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS blobs_by_document ON blobs (document_id, held);

CREATE VIEW IF NOT EXISTS open_documents AS
    SELECT * FROM documents WHERE state IN ('queued', 'running');

-- which documents came out of a file of many
CREATE TABLE IF NOT EXISTS members (
    tenant TEXT NOT NULL, collection TEXT NOT NULL, container TEXT NOT NULL, document_id TEXT NOT NULL,
    PRIMARY KEY (tenant, collection, container, document_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS members_by_document ON members (document_id);
"""
