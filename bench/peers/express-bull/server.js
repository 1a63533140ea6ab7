'use strict';
// The front: contacts, campaigns, and a row by its primary key. A campaign is a Bull job per recipient.

const { randomUUID } = require('node:crypto');
const Queue = require('bull');
const express = require('express');
const { pool, prepare } = require('./database');

const mails = new Queue('mails', process.env.REDIS_URL);
const JOBS_AT_ONCE = 1000;

const app = express();
app.use(express.json());

app.get('/health', (request, response) => response.json({ status: 'ok' }));

app.post('/contacts', async (request, response) => {
  await pool.query(
    `INSERT INTO peer.contacts (id, email, name, city, visits)
     SELECT n, 'reader-' || n || '@north-' || (1 + n % 20) || '.test', 'Reader ' || n, 'Lisbon', n % 40
     FROM generate_series(1, $1::bigint) AS n ON CONFLICT DO NOTHING`,
    [request.body.count],
  );
  response.status(201).json({});
});

app.post('/campaigns', async (request, response) => {
  const id = randomUUID();
  await pool.query('INSERT INTO peer.campaigns (id, subject, html) VALUES ($1, $2, $3)', [
    id,
    process.env.SUBJECT,
    process.env.HTML,
  ]);
  response.status(202).json({ id });
  const { rows } = await pool.query('SELECT id FROM peer.contacts ORDER BY id LIMIT $1', [request.body.recipients]);
  for (let from = 0; from < rows.length; from += JOBS_AT_ONCE) {
    const slice = rows.slice(from, from + JOBS_AT_ONCE);
    await mails.addBulk(
      slice.map((row) => ({
        data: { campaign: id, contact: row.id },
        opts: { attempts: 3, backoff: { type: 'exponential', delay: 2000 }, removeOnComplete: true },
      })),
    );
  }
});

app.get('/campaigns/:id', async (request, response) => {
  const { rows } = await pool.query(
    `SELECT count(*) FILTER (WHERE state = 'accepted')::int AS accepted, count(*) FILTER (WHERE state = 'failed')::int AS failed
     FROM peer.deliveries WHERE campaign_id = $1`,
    [request.params.id],
  );
  response.json(rows[0]);
});

app.post('/jobs', async (request, response) => {
  const id = randomUUID();
  await pool.query("INSERT INTO peer.jobs (id, kind, state, done, total) VALUES ($1, 'import', 'succeeded', 10, 10)", [id]);
  response.status(201).json({ id });
});

app.get('/jobs/:id', async (request, response) => {
  const { rows } = await pool.query('SELECT * FROM peer.jobs WHERE id = $1', [request.params.id]);
  if (rows.length === 0) return response.status(404).json({ error: 'not found' });
  response.json(rows[0]);
});

prepare().then(() => app.listen(Number(process.env.PORT), '127.0.0.1'));
