/** One request over HTTP, in clear; never rejects: `none` is the status of no answer. Runs here and in pods of callers. */
import { request } from 'node:http';

const LIMIT_MS = 5_000;

/** With a `body` it is a POST. */
export function ask({ host, port, path, headers, body: sent }) {
  return new Promise((resolve) => {
    const method = sent === undefined ? 'GET' : 'POST';
    const call = request({ host, port, path, method, headers, agent: false, timeout: LIMIT_MS }, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve({ status: response.statusCode, headers: response.headers, body }));
      response.on('error', (error) => resolve({ status: 'none', headers: {}, body: error.message }));
    });
    call.on('timeout', () => call.destroy(new Error('took too long')));
    call.on('error', (error) => resolve({ status: 'none', headers: {}, body: error.message }));
    call.end(sent);
  });
}
