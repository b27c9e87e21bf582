/** What counts as a photo or a recording among the files that are dropped or chosen. */

const PHOTO_SUFFIX = /\.(jpe?g|png|webp|heic|heif|avif|tiff?|bmp)$/i;

export const PHOTO_ACCEPT = 'image/jpeg,image/png,image/webp,image/heic,image/heif,image/tiff,image/bmp,.heic,.heif';

export interface SortedFiles {
  photos: File[];
  recordings: File[];
  /** One sentence for each file that is neither. */
  refusals: string[];
}

/** Sort files into photos, recordings and what is refused. */
export function sortFiles(files: Iterable<File>, uploadBytes: number): SortedFiles {
  const sorted: SortedFiles = { photos: [], recordings: [], refusals: [] };
  for (const file of files) {
    const refusal = refusalOf(file, uploadBytes);
    if (refusal) sorted.refusals.push(refusal);
    else if (isRecording(file)) sorted.recordings.push(file);
    else sorted.photos.push(file);
  }
  return sorted;
}

function isRecording(file: File): boolean {
  return /\.csv$/i.test(file.name);
}

function refusalOf(file: File, uploadBytes: number): string | null {
  if (file.size === 0) return `“${file.name}” is empty; choose another photo.`;
  if (isRecording(file)) return null;
  if (!PHOTO_SUFFIX.test(file.name) && (!file.type.startsWith('image/') || file.type === 'image/svg+xml')) {
    return `“${file.name}” is no photo; choose a JPEG, PNG, WebP or HEIC.`;
  }
  if (file.size > uploadBytes) {
    return `“${file.name}” has ${Math.round(file.size / 1e6)} MB, more than the ${Math.round(uploadBytes / 1e6)} MB allowed; save it smaller.`;
  }
  return null;
}
