/** The yardstick: a server on the same gRPC library that reads nothing and answers the same bytes always. Arguments:
 *  the method, the answer in base64. */
import { Server, ServerCredentials } from '@grpc/grpc-js';

const [path, answer] = process.argv.slice(2);
const bytes = Buffer.from(answer, 'base64');
const same = (value) => value;
const server = new Server();
server.addService(
  {
    check: { path, requestStream: false, responseStream: false, requestDeserialize: same, responseSerialize: same },
  },
  { check: (_, done) => done(null, bytes) },
);
server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
  if (error) throw error;
  console.log(JSON.stringify({ msg: 'ready', check: `127.0.0.1:${port}` }));
});
