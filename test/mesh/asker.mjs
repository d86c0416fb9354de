/** Runs in the pod of a caller: asks what it is told to ask, through the pod's own sidecar, and tells what came back. */
import { createServer } from 'node:http';
import { connect } from 'node:http2';
import { ask } from './ask.mjs';

const LIMIT_MS = 5_000;

/** An empty gRPC call; the status is `grpc` and its own, or `none`. */
function call({ host, port, path }) {
  return new Promise((resolve) => {
    const session = connect(`http://${host}:${port}`);
    const end = (answer) => {
      session.destroy();
      resolve({ status: 'none', headers: {}, body: '', ...answer });
    };
    session.on('error', (error) => end({ body: error.message }));
    const stream = session.request({
      ':method': 'POST',
      ':path': path,
      'content-type': 'application/grpc',
      te: 'trailers',
    });
    stream.setTimeout(LIMIT_MS, () => end({ body: 'took too long' }));
    let status = 'none';
    const read = (headers) => (status = headers['grpc-status'] ?? status);
    stream.on('response', read);
    stream.on('trailers', read);
    stream.on('error', (error) => end({ body: error.message }));
    stream.on('end', () => setImmediate(() => end({ status: `grpc ${status}` })));
    stream.resume();
    stream.end(Buffer.alloc(5));
  });
}

createServer(async (incoming, outgoing) => {
  let text = '';
  for await (const chunk of incoming) text += chunk;
  const { isGrpc, ...what } = JSON.parse(text);
  outgoing.end(JSON.stringify(await (isGrpc ? call : ask)(what)));
}).listen(7000, () => console.log('ready'));
process.on('SIGTERM', () => process.exit(0));
