'use strict';
// Takes a job a recipient: reads the contact, renders, sends over nodemailer's pool, writes a row.

const { createHmac } = require('node:crypto');
const Queue = require('bull');
const nodemailer = require('nodemailer');
const { pool, prepare } = require('./database');

const concurrency = Number(process.env.CONCURRENCY);
const key = 'a key for unsubscribe links, thirty-two bytes';
const mails = new Queue('mails', process.env.REDIS_URL);
const transport = nodemailer.createTransport({
  host: process.env.SMTP_HOST,
  port: Number(process.env.SMTP_PORT),
  secure: false,
  ignoreTLS: true,
  pool: true,
  maxConnections: concurrency,
  maxMessages: Infinity,
});
const campaigns = new Map();

// What is equal for all recipients of a campaign is read once.
async function campaign(id) {
  if (!campaigns.has(id)) {
    campaigns.set(id, pool.query('SELECT subject, html FROM peer.campaigns WHERE id = $1', [id]).then(({ rows }) => rows[0]));
  }
  return campaigns.get(id);
}

function escape(text) {
  return text.replace(/[&<>"']/g, (c) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' })[c]);
}

function render(template, values, quote) {
  return template.replace(/\{\{\s*([\w.]+)\s*\}\}/g, (whole, name) => quote(String(values[name] ?? '')));
}

async function send({ data }) {
  const { subject, html } = await campaign(data.campaign);
  const { rows } = await pool.query('SELECT email, name, city, visits FROM peer.contacts WHERE id = $1', [data.contact]);
  const contact = rows[0];
  const token = createHmac('sha256', key).update(`${data.campaign}.${data.contact}`).digest('base64url');
  const link = `http://127.0.0.1/unsubscribe/${data.campaign}.${data.contact}.${token}`;
  const values = {
    'campaign.name': 'Peer',
    'contact.email': contact.email,
    'contact.name': contact.name,
    'contact.attributes.city': contact.city,
    'contact.attributes.visits': contact.visits,
    unsubscribe_url: link,
  };
  const sent = await transport.sendMail({
    from: { name: 'Orchard & Harbor', address: 'news@mochila.test' },
    to: { name: contact.name, address: contact.email },
    subject: render(subject, values, (text) => text),
    html: render(html, values, escape),
    headers: { 'List-Unsubscribe': `<${link}>`, 'List-Unsubscribe-Post': 'List-Unsubscribe=One-Click' },
  });
  await pool.query(
    `INSERT INTO peer.deliveries (campaign_id, contact_id, state, message_id, response) VALUES ($1, $2, 'accepted', $3, $4)
     ON CONFLICT DO NOTHING`,
    [data.campaign, data.contact, sent.messageId, sent.response],
  );
}

mails.on('failed', async (job) => {
  if (job.attemptsMade < job.opts.attempts) return;
  await pool.query(
    "INSERT INTO peer.deliveries (campaign_id, contact_id, state) VALUES ($1, $2, 'failed') ON CONFLICT DO NOTHING",
    [job.data.campaign, job.data.contact],
  );
});

prepare().then(() => mails.process(concurrency, send));
