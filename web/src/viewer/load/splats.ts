// Reads Gaussian splats with Spark.

import { SplatFileType, SplatMesh } from '@sparkjsdev/spark';

import { checkSpz } from './checks';
import { suffixOf, type Content, type LoadedFile } from './content';

const TYPES: Record<string, SplatFileType> = {
  '.ply': SplatFileType.PLY,
  '.spz': SplatFileType.SPZ,
  '.splat': SplatFileType.SPLAT,
};

/** Read splats with the precision that heads need: in half precision millimetres are lost. */
export async function loadSplats(file: LoadedFile): Promise<Content> {
  if (suffixOf(file.name) === '.spz') await checkSpz(file.data);
  const fileType = TYPES[suffixOf(file.name)];
  const splats = new SplatMesh({ fileBytes: file.data, fileType, fileName: file.name, extSplats: true });
  await splats.initialized;
  if ((splats.splats?.getNumSplats() ?? 0) === 0) throw new Error('it holds no splats');
  return { kind: 'splats', splats };
}
