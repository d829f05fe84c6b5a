// A client written from docs/protocol.md alone. Usage: node client.mjs ENDPOINT TEXT  (npm install zeromq)
import { randomBytes } from "node:crypto";
import { Dealer } from "zeromq";

const [endpoint, text] = process.argv.slice(2);
const ECHO = 2;
const header = Buffer.alloc(128);
const id = randomBytes(16);
header.write("MIXL", 0, "ascii");
header[4] = 1; // version
header[5] = ECHO;
header[7] = 128; // priority
id.copy(header, 8);
header.writeBigUInt64LE(2_000_000n, 24); // budget, microseconds

const socket = new Dealer({ linger: 0, receiveTimeout: 3000 });
socket.connect(endpoint);
await socket.send([header, Buffer.from(text)]);
for (;;) {
  const [reply, body] = await socket.receive();
  if (!reply.subarray(8, 24).equals(id)) continue; // late or foreign
  console.log(JSON.stringify({ status: reply[7], kind: reply[5] & 0x7f, text: body.toString() }));
  break;
}
socket.close();
