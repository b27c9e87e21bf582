/** The computer's camera: opening it, and taking a photo with it. */

import { messageOf } from './api';
import { button, element, setText } from './dom';
import { openDialog } from './dialog';

const PHOTO_WIDTH_PX = 1920;
const JPEG_QUALITY = 0.95;

/** Whether the browser lets this page use a camera at all: only on this computer, or over https. */
export const hasCamera = (): boolean => Boolean(navigator.mediaDevices?.getUserMedia);

/**
 * Open the camera and show it in a video element.
 *
 * @throws an Error with a sentence to show.
 */
export async function openCamera(video: HTMLVideoElement, width_px: number): Promise<MediaStream> {
  if (!hasCamera()) throw new Error('The browser gives this page no camera; open it as http://127.0.0.1.');
  let stream: MediaStream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({
      video: { width: { ideal: width_px }, facingMode: 'user' },
      audio: false,
    });
  } catch (error) {
    throw new Error(cameraRefusal(error));
  }
  video.srcObject = stream;
  await video.play();
  return stream;
}

export function stopCamera(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}

function cameraRefusal(error: unknown): string {
  const name = error instanceof DOMException ? error.name : '';
  if (name === 'NotAllowedError') return 'The camera is not allowed here; allow it in the browser’s address bar and try again.';
  if (name === 'NotFoundError') return 'No camera was found; connect one and try again.';
  if (name === 'NotReadableError') return 'The camera is used by another program; close that and try again.';
  return `The camera cannot be opened: ${messageOf(error)}`;
}

/** Let the user take a photo; the result is null if the dialog is closed without one. */
export function takePhoto(): Promise<File | null> {
  return new Promise((resolve) => {
    let photo: File | null = null;
    let stream: MediaStream | null = null;
    let isClosed = false;
    const video = element('video', { class: 'camera-picture', playsinline: true, 'aria-label': 'What the camera sees' });
    video.muted = true;
    const state = element('p', { class: 'hint', role: 'status' }, 'Opening the camera …');
    const shutter = button('Take the photo', { class: 'button button-primary', disabled: true }, 'camera');
    shutter.addEventListener('click', async () => {
      photo = await grabPhoto(video);
      dialog.close();
    });
    const dialog = openDialog(
      'Take a photo',
      [video, state, element('div', { class: 'dialog-actions' }, shutter)],
      () => {
        isClosed = true;
        if (stream) stopCamera(stream);
        resolve(photo);
      },
    );
    openCamera(video, PHOTO_WIDTH_PX).then(
      (opened) => {
        stream = opened;
        if (isClosed) stopCamera(opened);
        shutter.disabled = false;
        setText(state, 'Look into the camera, with even light and the whole head in the picture.');
        shutter.focus();
      },
      (error: unknown) => setText(state, messageOf(error)),
    );
  });
}

async function grabPhoto(video: HTMLVideoElement): Promise<File> {
  const blob = await drawFrame(video, document.createElement('canvas'), video.videoWidth, JPEG_QUALITY);
  return new File([blob], `camera ${new Date().toISOString().slice(0, 19).replace('T', ' ').replaceAll(':', '.')}.jpg`, {
    type: 'image/jpeg',
  });
}

/** Draw the current frame into a canvas of that width, and return it as JPEG. */
export function drawFrame(
  video: HTMLVideoElement,
  canvas: HTMLCanvasElement,
  width_px: number,
  quality: number,
): Promise<Blob> {
  canvas.width = width_px;
  canvas.height = Math.round((width_px * video.videoHeight) / video.videoWidth);
  canvas.getContext('2d', { alpha: false })!.drawImage(video, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve, reject) => {
    canvas.toBlob(
      (blob) => (blob ? resolve(blob) : reject(new Error('The picture of the camera cannot be read; try again.'))),
      'image/jpeg',
      quality,
    );
  });
}
