/**
 * Reads and writes the CSV of Live Link Face: ARKit's weights and the angles of head and eyes over time.
 *
 * The rules are those of `spinmeround.io.recordings.live_link`: the same files are taken, and mean the same.
 */

import { MAX_CLIP_S, clipSeconds, sampleClip, type Clip, type ClipFrame } from './clip';
import type { HeadAngles, Weights } from './face';

const MAX_BYTES = 64 * 2 ** 20;
const FRAME_RATES_HZ = [24, 25, 30, 48, 50, 60, 120];
const USUAL_RATE_HZ = 60;
const DAY_S = 86_400;
const WEIGHT_RANGE = [-0.5, 2] as const;
const TIMECODE = /^(\d{1,2}):(\d{2}):(\d{2})[:;](\d{1,3}(?:\.\d*)?)$/;
const ANGLES = ['Yaw', 'Pitch', 'Roll'] as const;
/** Least rms of weights and of angles (radians) for telling whether their signs agree, and how opposite is opposite. */
const LEAST_GAZE = 0.02;
const LEAST_EYE_RAD = 0.01;
const OPPOSITE = -0.5;

interface Row {
  timecode: string;
  /** Weights in the order of the names. */
  weights: number[];
  /** Yaw, pitch and roll of head, left eye, right eye. */
  angles: number[];
}

/**
 * Read a recording.
 *
 * @throws an Error with a sentence to show.
 */
export async function readLiveLink(file: File, names: string[]): Promise<Clip> {
  const refuse = (why: string): Error => new Error(`“${file.name}” ${why}`);
  if (file.size > MAX_BYTES) throw refuse(`has more than ${MAX_BYTES / 2 ** 20} MB; cut the recording.`);
  const lines = (await file.text()).replace(/^\uFEFF/, '').split(/\r\n|\n|\r/).filter((line) => line.trim());
  const header = (lines[0] ?? '').split(',').map((cell) => cell.trim().toLowerCase());
  const at = (column: string): number => header.indexOf(column.toLowerCase());
  if (at('Timecode') < 0) throw refuse('has no column Timecode; take the .csv of a take by Live Link Face.');
  const known = names.filter((name) => at(name) >= 0);
  if (known.length === 0) throw refuse('has none of ARKit’s expressions; take the .csv of a take by Live Link Face.');
  const rows = lines.slice(1).flatMap((line) => readRow(line.split(','), header.length, at, known));
  if (rows.length < 2) throw refuse('shows a face in fewer than two rows; record it again.');
  const times = timesOf(rows, refuse);
  const toDegrees = angleScale(rows);
  const signs = signsOfGaze(rows, known);
  checkWeights(rows, known, refuse);
  const frames: ClipFrame[] = [];
  rows.forEach((row, index) => {
    const time_s = times[index]!;
    if (frames.length > 0 && time_s <= frames.at(-1)!.time_s) return;
    const weights: Weights = {};
    known.forEach((name, k) => (weights[name] = Math.min(1, Math.max(0, row.weights[k]!))));
    const [yaw, pitch, roll] = [0, 1, 2].map((k) => -row.angles[k]! * toDegrees * signs[k]!) as [number, number, number];
    frames.push({ time_s, weights, angles: [pitch, yaw, roll] });
  });
  if (frames.length < 2) throw refuse('has all its frames at one time; record it again.');
  const clip = { name: file.name, frames };
  if (clipSeconds(clip) > MAX_CLIP_S) throw refuse('is longer than ten minutes; cut the recording.');
  return clip;
}

/** Return a row that shows a face and holds numbers; others are bridged. */
function readRow(cells: string[], count: number, at: (column: string) => number, known: string[]): Row[] {
  if (cells.length !== count) return [];
  const number = (column: string): number => {
    const index = at(column);
    if (index < 0) return 0;
    const cell = cells[index]!.trim();
    return cell === '' ? NaN : Number(cell);
  };
  if (at('BlendshapeCount') >= 0 && number('BlendshapeCount') === 0) return [];
  const weights = known.map(number);
  const angles = ['Head', 'LeftEye', 'RightEye'].flatMap((joint) => ANGLES.map((angle) => number(joint + angle)));
  if (![...weights, ...angles].every(Number.isFinite)) return [];
  return [{ timecode: cells[at('Timecode')]!.trim(), weights, angles }];
}

function timesOf(rows: Row[], refuse: (why: string) => Error): number[] {
  const parts = rows.map(({ timecode }) => {
    const found = TIMECODE.exec(timecode);
    if (!found) throw refuse(`has the timecode “${timecode}”; expected hours:minutes:seconds:frames.`);
    return { clock: 3600 * Number(found[1]) + 60 * Number(found[2]) + Number(found[3]), frame: Number(found[4]) };
  });
  const highest = Math.floor(Math.max(...parts.map(({ frame }) => frame)));
  let rate = FRAME_RATES_HZ.find((each) => each > highest);
  if (rate === undefined) throw refuse(`has frame ${highest} within one second; recordings have at most 120.`);
  if (parts.every(({ clock }) => clock === parts[0]!.clock)) rate = Math.max(rate, USUAL_RATE_HZ);
  let days_s = 0;
  let last = -Infinity;
  const times = parts.map(({ clock, frame }) => {
    const ofDay = clock + frame / rate;
    if (ofDay + days_s < last - DAY_S / 2) days_s += DAY_S;
    const time = ofDay + days_s;
    if (time < last) throw refuse('has times that run backwards; sort its rows by time.');
    last = time;
    return time;
  });
  return times.map((time) => time - times[0]!);
}

/** Angles are in radians, or in degrees if some exceed pi. */
function angleScale(rows: Row[]): number {
  const isRadians = rows.every((row) => row.angles.every((angle) => Math.abs(angle) <= Math.PI));
  return isRadians ? 180 / Math.PI : 1;
}

function checkWeights(rows: Row[], known: string[], refuse: (why: string) => Error): void {
  known.forEach((name, k) => {
    const isFar = rows.some((row) => row.weights[k]! < WEIGHT_RANGE[0] || row.weights[k]! > WEIGHT_RANGE[1]);
    if (isFar) throw refuse(`has weights of ${name} far outside 0 to 1; divide them.`);
  });
}

/** Return the signs of yaw, pitch and roll: -1 where the angles of the eyes contradict the weights of gaze. */
function signsOfGaze(rows: Row[], known: string[]): [number, number, number] {
  const degrees = angleScale(rows) === 1 ? Math.PI / 180 : 1;
  const weight = (row: Row, name: string): number => row.weights[known.indexOf(name)] ?? 0;
  const left = rows.map((row) => weight(row, 'eyeLookOutLeft') + weight(row, 'eyeLookInRight') - weight(row, 'eyeLookInLeft') - weight(row, 'eyeLookOutRight'));
  const down = rows.map((row) => weight(row, 'eyeLookDownLeft') + weight(row, 'eyeLookDownRight') - weight(row, 'eyeLookUpLeft') - weight(row, 'eyeLookUpRight'));
  const eyes = (axis: number): number[] => rows.map((row) => (row.angles[3 + axis]! + row.angles[6 + axis]!) * degrees);
  return [isOpposite(left, eyes(0)) ? -1 : 1, isOpposite(down, eyes(1)) ? -1 : 1, 1];
}

function isOpposite(gaze: number[], angles_rad: number[]): boolean {
  const mean = (values: number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length;
  const rms = (values: number[]): number => Math.sqrt(mean(values.map((value) => value * value)));
  for (const originOf of [mean, () => 0]) {
    const [gazeOrigin, angleOrigin] = [originOf(gaze), originOf(angles_rad)];
    const named = gaze.map((value) => value - gazeOrigin);
    const measured = angles_rad.map((value) => value - angleOrigin);
    if (rms(named) > LEAST_GAZE && rms(measured) > LEAST_EYE_RAD) {
      return mean(named.map((value, k) => value * measured[k]!)) < OPPOSITE * rms(named) * rms(measured);
    }
  }
  return false;
}

/** Write a clip at 60 frames a second. */
export function writeLiveLink(clip: Clip, names: string[]): string {
  const angleColumns = ['Head', 'LeftEye', 'RightEye'].flatMap((joint) => ANGLES.map((angle) => joint + angle));
  const lines = [['Timecode', 'BlendshapeCount', ...names.map(pascal), ...angleColumns].join(',')];
  const count = Math.floor(clipSeconds(clip) * USUAL_RATE_HZ) + 1;
  for (let index = 0; index < count; index += 1) {
    const { weights, angles } = sampleClip(clip, index / USUAL_RATE_HZ);
    const numbers = [...names.map((name) => weights[name] ?? 0), ...fileAngles(angles), ...EYES_AT_REST];
    lines.push([timecode(index), names.length + EYES_AT_REST.length + 3, ...numbers.map((value) => value.toFixed(6))].join(','));
  }
  return `${lines.join('\n')}\n`;
}

/** The eyes are moved by their weights alone. */
const EYES_AT_REST = [0, 0, 0, 0, 0, 0];

/** The file's angles turn about +Y, +X and +Z, in radians; ours count the other way. */
function fileAngles([pitch, yaw, roll]: HeadAngles): number[] {
  return [yaw, pitch, roll].map((angle) => (-angle * Math.PI) / 180);
}

function pascal(name: string): string {
  return name[0]!.toUpperCase() + name.slice(1);
}

function timecode(frame: number): string {
  const two = (value: number): string => String(value).padStart(2, '0');
  const seconds = Math.floor(frame / USUAL_RATE_HZ);
  return [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60].map(two).join(':') + `:${two(frame % USUAL_RATE_HZ)}.000`;
}
