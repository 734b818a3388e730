// The same requests as images.c takes ("sharp FORMAT SIDES PATH"), answered by sharp: one decode
// per side, as its users call it, one thread, no cache.
const fs = require('fs');
const readline = require('readline');
const sharp = require('sharp');

const QUALITY = 80;

sharp.concurrency(1);
sharp.cache(false);

async function answer(line) {
  const [, format, sides, ...path] = line.split(' ');
  const before = process.cpuUsage(), began = process.hrtime.bigint();
  const source = fs.readFileSync(path.join(' '));
  const bytes = [];
  for (const side of sides.split(',').map(Number)) {
    const made = sharp(source).rotate().resize(side, side, { fit: 'inside', withoutEnlargement: true });
    bytes.push((await made.toFormat(format, { quality: QUALITY }).toBuffer()).length);
  }
  const wall = Number((process.hrtime.bigint() - began) / 1000n);
  const cpu = process.cpuUsage(before);
  console.log(JSON.stringify({ cpu_us: cpu.user + cpu.system, wall_us: wall, bytes }));
}

(async () => {
  for await (const line of readline.createInterface({ input: process.stdin })) await answer(line);
})();
