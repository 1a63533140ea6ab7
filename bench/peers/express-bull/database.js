'use strict';
// The peer's tables, in a schema of its own in the same PostgreSQL (fsync on).

const { Pool } = require('pg');

const pool = new Pool({ connectionString: process.env.DATABASE_URL, max: 20 });

const SCHEMA = `
  CREATE SCHEMA IF NOT EXISTS peer;
  CREATE TABLE IF NOT EXISTS peer.contacts (
    id bigint PRIMARY KEY, email text NOT NULL UNIQUE, name text NOT NULL, city text NOT NULL, visits integer NOT NULL);
  CREATE TABLE IF NOT EXISTS peer.campaigns (
    id uuid PRIMARY KEY, subject text NOT NULL, html text NOT NULL, created_at timestamptz NOT NULL DEFAULT now());
  CREATE TABLE IF NOT EXISTS peer.deliveries (
    campaign_id uuid NOT NULL REFERENCES peer.campaigns (id), contact_id bigint NOT NULL REFERENCES peer.contacts (id),
    state text NOT NULL, message_id text, response text, sent_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (campaign_id, contact_id));
  CREATE TABLE IF NOT EXISTS peer.jobs (
    id uuid PRIMARY KEY, kind text NOT NULL, state text NOT NULL, done bigint NOT NULL, total bigint,
    created_at timestamptz NOT NULL DEFAULT now());
`;

module.exports = { pool, prepare: () => pool.query(SCHEMA) };
